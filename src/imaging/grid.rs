//! A grid is a small rectangle of values with a safe look at any place.

/// Values in rows from the top, addressed by column and row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grid<T> {
    width: i32,
    height: i32,
    cells: Vec<T>,
}

impl<T: Copy + Default> Grid<T> {
    /// Wraps `cells`; missing ones are filled, surplus ones cut.
    pub(crate) fn new((width, height): (u32, u32), mut cells: Vec<T>) -> Self {
        let side = |px: u32| i32::try_from(px).unwrap_or(i32::MAX);
        cells.resize(width as usize * height as usize, T::default());
        Self { width: side(width), height: side(height), cells }
    }

    /// A grid of the same size with other values; missing ones are filled, surplus ones cut.
    pub(crate) fn with_cells<U: Copy + Default>(&self, mut cells: Vec<U>) -> Grid<U> {
        cells.resize(self.cells.len(), U::default());
        Grid { width: self.width, height: self.height, cells }
    }

    /// Rows.
    pub(crate) fn height(&self) -> i32 {
        self.height
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (i32, i32) {
        (self.width, self.height)
    }

    /// All values.
    pub(crate) fn cells(&self) -> &[T] {
        &self.cells
    }

    /// The rows from the top.
    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &[T]> + ExactSizeIterator {
        self.cells.chunks_exact(usize::try_from(self.width).unwrap_or(1).max(1))
    }

    /// The value at a place; outside, that of the nearest place inside.
    pub(crate) fn at(&self, x: i32, y: i32) -> T {
        let place = self.place(x.clamp(0, self.width - 1), y.clamp(0, self.height - 1));
        self.cells.get(place).copied().unwrap_or_default()
    }

    /// The value at a place; `None` outside.
    pub(crate) fn get(&self, x: i32, y: i32) -> Option<T> {
        let inside = 0 <= x && x < self.width && 0 <= y && y < self.height;
        if inside { self.cells.get(self.place(x, y)).copied() } else { None }
    }

    fn place(&self, x: i32, y: i32) -> usize {
        usize::try_from(y * self.width + x).unwrap_or(usize::MAX)
    }
}

/// The four places beside one.
pub(crate) fn beside((x, y): (i32, i32)) -> [(i32, i32); 4] {
    [(x, y - 1), (x - 1, y), (x + 1, y), (x, y + 1)]
}

/// `part / whole`, 0 where there is no whole.
#[expect(clippy::cast_precision_loss, reason = "counts of pixels are far below 2^52")]
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Mean and variance of `values`; `None` where there are none.
pub(crate) fn spread(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (mut count, mut sum, mut squares) = (0_u32, 0.0, 0.0);
    for value in values {
        count += 1;
        sum += value;
        squares += value * value;
    }
    if count == 0 {
        return None;
    }
    let mean = sum / f64::from(count);
    Some((mean, (squares / f64::from(count) - mean * mean).max(0.0)))
}
