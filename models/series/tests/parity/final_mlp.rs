use menagerie_parity::Case;

pub const CASES: &[Case] = &[];
