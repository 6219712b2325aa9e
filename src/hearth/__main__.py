"""What does `python -m hearth` do? The same as `hearth`."""

from hearth.cli.main import main

if __name__ == "__main__":
    main()
