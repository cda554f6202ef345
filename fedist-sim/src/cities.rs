//! Where people and computers are.

/// A city with its place and its share in the world's regions.
#[derive(Copy, Clone, Debug)]
pub(crate) struct City {
    pub(crate) lat: f64,
    pub(crate) lon: f64,
    pub(crate) weight: u32,
}

const fn city(lat: f64, lon: f64, weight: u32) -> City {
    City { lat, lon, weight }
}

/// 64 cities with data centres; the weights are rough shares of the world's capacity, chosen by hand.
pub(crate) const CITIES: [City; 64] = [
    city(39.0, -77.5, 60),  // Ashburn
    city(40.0, -83.0, 20),  // Columbus
    city(45.8, -119.7, 25), // Boardman
    city(37.4, -122.1, 30), // San Jose
    city(34.1, -118.2, 18), // Los Angeles
    city(32.8, -96.8, 25),  // Dallas
    city(41.9, -87.6, 20),  // Chicago
    city(33.4, -112.1, 15), // Phoenix
    city(33.7, -84.4, 15),  // Atlanta
    city(40.7, -74.0, 25),  // New York
    city(25.8, -80.2, 10),  // Miami
    city(47.6, -122.3, 12), // Seattle
    city(41.3, -96.0, 12),  // Omaha
    city(43.7, -79.4, 10),  // Toronto
    city(45.5, -73.6, 10),  // Montreal
    city(51.0, -114.1, 5),  // Calgary
    city(20.6, -100.4, 6),  // Queretaro
    city(4.7, -74.1, 4),    // Bogota
    city(-23.5, -46.6, 15), // Sao Paulo
    city(-33.4, -70.7, 6),  // Santiago
    city(-34.6, -58.4, 5),  // Buenos Aires
    city(51.5, -0.1, 30),   // London
    city(53.3, -6.3, 25),   // Dublin
    city(52.4, 4.9, 25),    // Amsterdam
    city(50.1, 8.7, 40),    // Frankfurt
    city(48.9, 2.4, 25),    // Paris
    city(47.4, 8.5, 8),     // Zurich
    city(45.5, 9.2, 10),    // Milan
    city(40.4, -3.7, 10),   // Madrid
    city(38.7, -9.1, 4),    // Lisbon
    city(43.3, 5.4, 6),     // Marseille
    city(59.3, 18.1, 12),   // Stockholm
    city(59.9, 10.8, 6),    // Oslo
    city(60.2, 24.9, 8),    // Helsinki
    city(55.7, 12.6, 6),    // Copenhagen
    city(52.2, 21.0, 8),    // Warsaw
    city(48.2, 16.4, 6),    // Vienna
    city(44.4, 26.1, 4),    // Bucharest
    city(38.0, 23.7, 4),    // Athens
    city(41.0, 29.0, 6),    // Istanbul
    city(55.8, 37.6, 8),    // Moscow
    city(32.1, 34.8, 5),    // Tel Aviv
    city(25.2, 55.3, 10),   // Dubai
    city(26.2, 50.6, 4),    // Manama
    city(24.7, 46.7, 5),    // Riyadh
    city(-26.2, 28.0, 8),   // Johannesburg
    city(-33.9, 18.4, 5),   // Cape Town
    city(6.5, 3.4, 3),      // Lagos
    city(-1.3, 36.8, 3),    // Nairobi
    city(19.1, 72.9, 20),   // Mumbai
    city(17.4, 78.5, 10),   // Hyderabad
    city(28.6, 77.2, 10),   // Delhi
    city(13.1, 80.3, 6),    // Chennai
    city(1.35, 103.8, 30),  // Singapore
    city(-6.2, 106.8, 8),   // Jakarta
    city(13.8, 100.5, 5),   // Bangkok
    city(22.3, 114.2, 18),  // Hong Kong
    city(25.0, 121.5, 8),   // Taipei
    city(31.2, 121.5, 25),  // Shanghai
    city(39.9, 116.4, 25),  // Beijing
    city(37.6, 127.0, 18),  // Seoul
    city(35.7, 139.7, 30),  // Tokyo
    city(34.7, 135.5, 12),  // Osaka
    city(-33.9, 151.2, 18), // Sydney
];
