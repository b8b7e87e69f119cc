"""Brokers: NATS JetStream, Redis Streams, RabbitMQ, Kafka."""
