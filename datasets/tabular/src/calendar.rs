//! Days of the week.

/// The day of the week of a date of the Gregorian calendar, Monday 0.
pub(crate) fn weekday(year: i64, month: i64, day: i64) -> i64 {
    // Days since 1970-01-01, a Thursday: years begin in March, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    (days + 3).rem_euclid(7)
}

/// The day of the week of a second since 1970, Monday 0, in universal time.
pub(crate) fn weekday_of(seconds: i64) -> i64 {
    (seconds.div_euclid(86_400) + 3).rem_euclid(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        // A Thursday, a Tuesday (the first day of Avazu), leap days, and the day before an era.
        assert_eq!(weekday(1970, 1, 1), 3);
        assert_eq!(weekday(2014, 10, 21), 1);
        assert_eq!(weekday(2000, 2, 29), 1);
        assert_eq!(weekday(2024, 2, 29), 3);
        assert_eq!(weekday(1900, 2, 28), 2);
        assert_eq!(weekday_of(0), 3);
        assert_eq!(weekday_of(-1), 2);
        // 2000-07-30 18:45:03, a Sunday.
        assert_eq!(weekday_of(964_982_703), 6);
    }
}
