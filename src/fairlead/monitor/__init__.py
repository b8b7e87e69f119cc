"""What watches: sketches, drift, labels, performance, alerts, the timeline."""
