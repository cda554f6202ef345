//! Who and where: region ids, hierarchy, registry log, link costs and shortest paths for FeDist
