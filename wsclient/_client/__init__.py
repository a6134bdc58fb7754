"""The public interface: the class ``Client``, ``connect()``, and the functions that implement the public calls."""
