"""SHAP values and the explanation file of a bundle."""
