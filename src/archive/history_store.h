#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "io/directory.h"
#include "wal/timeline_history.h"

namespace weir::archive {

/// The content of `<timeline>.history` (also `.history.gz`), nullopt if the archive has none.
/// Throws Error{io}, Error{damage} if the .gz is broken.
[[nodiscard]] std::optional<std::string> read_history(io::Shelf& directory,
                                                      wal::TimelineId timeline);

/// Publishes it (home.h): it is durable when this returns. Storing the same content again succeeds
/// and writes nothing; different content is an Error{conflict}: two timelines with the same ID.
/// Comments and white space are ignored. Returns true if the file was not there before. A file that
/// cannot be read is an Error{damage}; Error{retry} as long as it may still be being copied.
bool store_history(io::Directory& directory, wal::TimelineId timeline, std::string_view content);

}  // namespace weir::archive
