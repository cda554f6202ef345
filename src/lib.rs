//! FeDist
