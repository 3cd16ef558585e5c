"""The account of the networks' skill: one network, chosen beforehand, beside HAR and LightGBM over a year."""
