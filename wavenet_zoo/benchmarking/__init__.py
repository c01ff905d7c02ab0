"""How fast networks are on the machine at hand: engines, timing, the choice of forms, and the benchmark itself."""
