"""The same fold by other stream processors: plain Faust, quixstreams, bytewax, Kafka Streams."""
