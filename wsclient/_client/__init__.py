"""The public face: the class ``Client``, ``connect()``, and the functions behind the public calls."""
