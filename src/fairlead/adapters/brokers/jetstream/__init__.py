"""NATS JetStream: a durable pull consumer a group; what is published carries ``Nats-Msg-Id``."""
