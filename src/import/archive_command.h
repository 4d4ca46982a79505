#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "archive/durable_end.h"
#include "import/offers.h"
#include "io/directory.h"

namespace weir::importing {

/// The question of a server's archive_command: whether the server may remove that file. It may once
/// the archive has the segment durably: from a receiver's stream, or else from this file.
struct ArchiveCommand {
  std::string path;  ///< of the file, in the server's pg_wal
  /// Takes the archive's lock, or returns that a receiver has it.
  std::function<bool()> try_lock;
  std::function<void()> release_lock;
  archive::AskDurableEnd durable_end;
  std::function<void()> prepare = nullptr;  ///< called before a file is added
  std::function<bool(std::uint64_t moved)> stop = nullptr;
  std::string now{};  ///< for records
  /// For a receiver that is at it. Less than a server waits for when it shuts down (60 s).
  std::chrono::milliseconds patience = std::chrono::seconds(10);
};

/// Returns nullopt if the file is durable in the archive, or not needed by a recovery: the label of
/// a base backup, and the partial segment that a promotion leaves, whose WAL is at the start of the
/// new timeline's segment. Otherwise returns why not. Throws what import_wal() throws.
///
/// While a receiver is running, nothing after its flush position is added; the call waits for it.
/// Without a receiver, the file is added, and with it the files of its directory between the
/// archive's WAL and it; never newer ones, which the server may not have flushed yet. If the
/// archive has the segment, only names are looked up.
[[nodiscard]] std::optional<LeftOut> archive_file(io::Directory& archive,
                                                  const ArchiveCommand& command);

}  // namespace weir::importing
