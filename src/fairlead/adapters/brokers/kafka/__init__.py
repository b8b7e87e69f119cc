"""Kafka: a consumer group by partitions; offsets are committed as far as everything before them is done."""
