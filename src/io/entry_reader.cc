#include "io/entry_reader.h"

namespace weir::io {

namespace {

/// Returns nullptr if it is not one.
EntryReader* reader_of(Shelf& shelf) { return dynamic_cast<EntryReader*>(&shelf); }

}  // namespace

void each_entry(Shelf& shelf, const TakeEntry& take) {
  if (auto* const reader = reader_of(shelf)) return reader->each_entry(take);
  for (const auto& entry : shelf.list()) take(entry);
}

void each_name(Shelf& shelf, const TakeName& take) {
  if (auto* const reader = reader_of(shelf)) return reader->each_name(take);
  for (const auto& entry : shelf.names()) take(entry.name, entry.type);
}

std::unique_ptr<NamesWatch> watch_names(Shelf& shelf) {
  auto* const reader = reader_of(shelf);
  return reader == nullptr ? nullptr : reader->watch_names();
}

}  // namespace weir::io
