"""OTLP bytes packed by hand: the protobuf wire format, cached fields, and the spans made of them."""
