"""``python -m netjail``."""

from netjail.cli import main

if __name__ == "__main__":
    main()
