//! Derive and attribute macros of FeDist
