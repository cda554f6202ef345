mod behaviour;
mod chaos;
mod hostile;
mod world;
