"""The Handle door without sockets."""
