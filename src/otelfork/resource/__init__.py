"""Who this process says it is: the attributes of its resource."""
