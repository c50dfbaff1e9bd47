"""``python -m ztoapi``: the same as the ``ztoapi`` command."""

from ztoapi.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
