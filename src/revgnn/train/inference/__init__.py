"""What a trained run is used for: scores, predictions, calibration."""
