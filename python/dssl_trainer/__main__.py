"""`python -m dssl_trainer` is the command `dssl`."""

from .cli import main

raise SystemExit(main())
