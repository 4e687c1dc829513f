"""``python -m mobileyolact``, which is also what ``accelerate launch -m mobileyolact`` runs."""

from mobileyolact.cli import main

if __name__ == "__main__":
    main()
