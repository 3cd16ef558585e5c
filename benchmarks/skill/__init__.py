"""The account of the networks' skill: one network, fixed beforehand, beside HAR and LightGBM over a year."""
