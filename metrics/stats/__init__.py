"""Estimators, correlations, calibration, sketches: closed forms and bounds, no table of ours."""
