"""The figures that are read from hey's report. The reports are copies of hey 0.1.4's output."""

import pytest

from loadtests.hey import faults_of

GOOD = """
Summary:
  Total:	0.1 secs

  Total data:	134600 bytes
  Size/request:	673 bytes

Response time histogram:
  0.820 [1]	|
  0.821 [10]	|********

Status code distribution:
  [200]	200 responses


"""


def test_a_good_report_has_no_faults() -> None:
    assert faults_of(GOOD, 200) == []
    assert faults_of(GOOD, 200, 673) == []


@pytest.mark.parametrize(
    ("report", "fault"),
    [
        (GOOD.replace("134600", "134599"), "expected 134600 bytes, received 134599"),
        (GOOD.replace("  Total data:	134600 bytes\n", ""), "expected 134600 bytes, received none"),
        (GOOD.replace("200 responses", "199 responses\n  [502]	1 responses"), "200 requests, but by status: "),
        (GOOD + "Error distribution:\n  [3]\tPost: connection refused\n", "Post: connection refused"),
    ],
)
def test_faults_are_named(report: str, fault: str) -> None:
    (found,) = faults_of(report, 200, 673)
    assert found.startswith(fault)
