#pragma once

#include <cstddef>
#include <limits>
#include <span>

#include "archive/segment_writer.h"
#include "wal/record_verifier.h"

namespace weir::receive {

/// The way of a piece of WAL from the connection to the kernel: checked first, then written. Not
/// one byte that failed the check is written, so none is acknowledged (P7). Belongs to the thread
/// that reads at the moment. Owns neither the verifier nor the writer.
class Intake {
 public:
  /// The verifier stands at the begin of the stream.
  Intake(wal::RecordVerifier& verifier, archive::SegmentWriter& writer)
      : verifier_(verifier), writer_(writer), begin_(verifier.position()) {}

  /// Checks `wal` and holds it until write() has written it; its bytes must stay valid that long.
  /// Throws Error{damage}; then nothing of it is held.
  void accept(std::span<const std::byte> wal);

  /// Writes what is held, at most `most` bytes of it. Throws as SegmentWriter::write does; may be
  /// called again, and goes on where it stopped.
  void write(std::size_t most = std::numeric_limits<std::size_t>::max());

  [[nodiscard]] bool holds_something() const { return !held_.empty(); }

  /// Forgets what is held.
  void drop() { held_ = {}; }

 private:
  wal::RecordVerifier& verifier_;
  archive::SegmentWriter& writer_;
  const wal::Lsn begin_;  ///< of the stream
  std::span<const std::byte> held_;
};

}  // namespace weir::receive
