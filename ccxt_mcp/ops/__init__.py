"""What operators see: health, readiness, logs. Views over snapshots that are passed in."""
