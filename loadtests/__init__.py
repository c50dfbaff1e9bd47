"""Load tests: a locustfile for each scenario, and the parts they share. See docs/load-tests.md."""
