mod answers;
mod month;
pub(super) mod shown;
mod subjects;
