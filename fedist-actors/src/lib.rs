//! What runs: nodes, actors, hub and relays, supervisors, monitors, names and tasks of FeDist
