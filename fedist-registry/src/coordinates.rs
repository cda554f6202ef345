//! Where a region is on the globe.

use serde::{Deserialize, Serialize};

/// A place on the globe in degrees, north and east positive.
///
/// Used only to guess which regions are near before anything was measured. Values come from people and files, so
/// [`is_valid`](Self::is_valid) is checked where a record enters the registry.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coordinates {
    /// Latitude, -90..=90.
    pub lat: f64,
    /// Longitude, -180..=180.
    pub lon: f64,
}

impl Coordinates {
    /// A place; `None` where the values are not finite or out of range.
    pub fn new(lat: f64, lon: f64) -> Option<Coordinates> {
        let place = Coordinates { lat, lon };
        place.is_valid().then_some(place)
    }

    /// Whether both values are finite and in range.
    pub fn is_valid(&self) -> bool {
        (-90.0..=90.0).contains(&self.lat) && (-180.0..=180.0).contains(&self.lon)
    }

    /// Kilometres along the surface to `other`.
    ///
    /// Haversine formula (R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68, 1984, p. 159) on a sphere with
    /// the mean earth radius of 6371.0088 km (IUGG); good to 0.5 %.
    pub fn distance_km(&self, other: &Coordinates) -> f64 {
        let (from, to) = (self.lat.to_radians(), other.lat.to_radians());
        let half_lat = ((to - from) / 2.0).sin();
        let half_lon = ((other.lon - self.lon).to_radians() / 2.0).sin();
        let h = half_lat * half_lat + from.cos() * to.cos() * half_lon * half_lon;
        // Rounding may push h past 1 for antipodes.
        2.0 * EARTH_RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin()
    }
}

const EARTH_RADIUS_KM: f64 = 6371.0088;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Coordinates {
        Coordinates::new(lat, lon).unwrap()
    }

    #[test]
    fn known_distances_come_out() {
        let frankfurt = at(50.1109, 8.6821);
        let virginia = at(39.0438, -77.4874);
        assert!(
            (frankfurt.distance_km(&virginia) - 6_550.0).abs() < 40.0,
            "{}",
            frankfurt.distance_km(&virginia)
        );
        assert_eq!(frankfurt.distance_km(&frankfurt), 0.0);
        let half_round = std::f64::consts::PI * 6371.0088;
        assert!((at(0.0, 0.0).distance_km(&at(0.0, 180.0)) - half_round).abs() < 0.001);
        assert!(
            (at(0.0, 179.5).distance_km(&at(0.0, -179.5)) - 111.195).abs() < 0.01,
            "the date line is no wall"
        );
    }

    #[test]
    fn places_off_the_globe_are_refused() {
        for (lat, lon) in [(90.1, 0.0), (0.0, 180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Coordinates::new(lat, lon), None);
        }
    }
}
