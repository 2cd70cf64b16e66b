//! Parts of dates, in UTC.

/// The function of a name, if it is one of these: from seconds since 1970 to a part of the date.
pub(super) fn function(name: &str) -> Option<fn(i64) -> f64> {
    Some(match name {
        "minute" => |s| (s.div_euclid(60).rem_euclid(60)) as f64,
        "hour" => |s| (s.div_euclid(3600).rem_euclid(24)) as f64,
        // 1970 began on a Thursday.
        "day_of_week" => |s| ((s.div_euclid(DAY) + 4).rem_euclid(7)) as f64,
        "day_of_month" => |s| f64::from(Date::of(s).day),
        "day_of_year" => |s| Date::of(s).day_of_year() as f64,
        "days_in_month" => |s| Date::of(s).days_in_month() as f64,
        "month" => |s| f64::from(Date::of(s).month),
        "year" => |s| Date::of(s).year as f64,
        _ => return None,
    })
}

const DAY: i64 = 86_400;
/// The first float that does not fit 64 bits.
const LIMIT: f64 = 9_223_372_036_854_775_808.0;

/// Whole seconds of a float. What does not fit, and what is no number, is the end of time, as in the reference on most
/// machines: conversion gives the least integer there, and adding the years before 1970 wraps around.
pub(super) fn seconds(v: f64) -> i64 {
    if (-LIMIT..LIMIT).contains(&v) { v as i64 } else { i64::MAX }
}

/// A date of the Gregorian calendar, extended to all times. A calendar library's years end somewhere; floats do not.
struct Date {
    year: i64,
    month: u8,
    day: u8,
}

impl Date {
    fn of(seconds: i64) -> Date {
        // Years are counted from March, so that the leap day is the last; 400 years repeat.
        let days = seconds.div_euclid(DAY) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Date { year, month: month as u8, day: day as u8 }
    }

    fn days_in_month(&self) -> i64 {
        match self.month {
            2 => 28 + i64::from(self.is_leap_year()),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(&self) -> i64 {
        let before = (1..self.month).map(|month| Date { month, ..*self }.days_in_month()).sum::<i64>();
        before + i64::from(self.day)
    }

    fn is_leap_year(&self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_has_the_last_date_of_all() {
        for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            let part = |name| function(name).unwrap()(seconds(v));
            assert_eq!([part("year"), part("month"), part("day_of_month")], [292_277_026_596.0, 12.0, 4.0]);
            assert_eq!([part("hour"), part("minute"), part("day_of_week")], [15.0, 30.0, 0.0]);
        }
        assert_eq!(function("year").unwrap()(seconds(-9.2e18)), -291_536_392_293.0);
        assert_eq!(seconds(-1.5), -1);
    }

    #[test]
    fn dates_are_those_of_a_calendar() {
        for seconds in (-3_000_000_000..4_000_000_000).step_by(86_400 * 3 + 4567) {
            let expected = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let part = |name| function(name).unwrap()(seconds);
            assert_eq!(part("year"), f64::from(expected.year()));
            assert_eq!(part("month"), f64::from(expected.month()));
            assert_eq!(part("day_of_month"), f64::from(expected.day()));
            assert_eq!(part("day_of_year"), f64::from(expected.day_of_year()));
            assert_eq!(part("days_in_month"), f64::from(expected.days_in_month()));
            assert_eq!(part("hour"), f64::from(expected.hour()));
            assert_eq!(part("minute"), f64::from(expected.minute()));
            assert_eq!(part("day_of_week"), f64::from(expected.weekday().to_sunday_zero_offset()));
        }
    }
}
