"""The paper's claims, checked: connectivity of the units, the ablation, and the tables with what is measured here."""
