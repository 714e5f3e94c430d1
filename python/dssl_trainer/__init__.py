"""The reference trainer of dssl_ops: `dssl train`, `dssl demo`. It uses only public names of dssl_ops."""
