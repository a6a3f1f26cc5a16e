"""All processes of one server start, and the shared memory in which they see each other."""
