//! How bytes travel: wire format, sessions, QUIC links, the in-process fabric and the WAN emulator of FeDist
