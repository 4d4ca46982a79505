#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "archive/segment_writer.h"
#include "base/error.h"
#include "wal/record_verifier.h"

namespace weir::receive {

class FirstWal;

/// Passes WAL from the connection to the kernel: verified first, then written. Bytes that failed
/// verification are never written, so never acknowledged (P7). Belongs to the thread that currently
/// reads. Owns neither the verifier nor the writer.
///
/// WAL that is received again and differs from the archive is either damaged or another server's.
/// The record's checksum decides, and it may be in a later piece: until then the difference is
/// disputed, and received WAL is verified but not written.
///
/// The same applies at the start of WAL that the archive does not have: if the first record's
/// prev-link is not the archive's last record, it is either damaged, or was written like that.
class Intake {
 public:
  /// The verifier is at the start of the stream, and knows the preceding WAL as set by
  /// archive::verifier_at().
  Intake(wal::RecordVerifier& verifier, archive::SegmentWriter& writer);

  /// Verifies `wal` and holds it until write() has written it; its bytes must stay valid that long.
  /// Throws Error{damage}; then none of it is held. During a dispute nothing is held; throws
  /// Error{conflict} when it is decided that the WAL is another server's.
  void accept(std::span<const std::byte> wal);

  /// Writes held WAL, at most `most` bytes. Throws as SegmentWriter::write does; may be called
  /// again, and continues where it stopped. A disputed difference is not thrown.
  void write(std::size_t most = std::numeric_limits<std::size_t>::max());

  [[nodiscard]] bool holds_something() const { return !held_.empty(); }

  /// Received WAL differs from the archive, and its validity is not known yet.
  [[nodiscard]] bool disputes() const { return dispute_.has_value(); }
  /// No more WAL will arrive. Throws the disputed error, if there is one.
  void settle();

  /// The received WAL is of a newer version than this program knows.
  [[nodiscard]] bool unchecked() const { return verifier_.unchecked(); }
  /// End of the last record that was received completely, and is not disputed; 0/0 before the first
  /// one. Any thread.
  [[nodiscard]] wal::Lsn records_end() const { return wal::Lsn(records_end_); }

  /// The partial segment in the archive has valid WAL of a known version. A first page with a
  /// newer magic is damaged then.
  void expect_known_version() { version_is_known_ = true; }

  /// From now on passes accepted WAL to it; it must outlive this object.
  void show_to(FirstWal& first_wal) { first_wal_ = &first_wal; }

  /// Held WAL from `end` on is not to be written. `begin` is the start of the held WAL.
  void keep_up_to(wal::Lsn begin, wal::Lsn end) { held_ = held_.first(end - begin); }

  /// Discards held or disputed WAL.
  void drop() {
    held_ = {};
    dispute_.reset();
  }

 private:
  void on_damage(const wal::Damage& damage);
  [[nodiscard]] Error error_of(const wal::Damage& damage) const;
  [[nodiscard]] Error not_continued() const;
  void decide();

  wal::RecordVerifier& verifier_;
  archive::SegmentWriter& writer_;
  const wal::Lsn begin_;  ///< of the stream
  const wal::Lsn last_;   ///< the archive's last record before it; 0/0 if unknown
  /// Reads the stream independently of preceding WAL, until its first record has been shown to
  /// continue the archive.
  std::optional<wal::RecordVerifier> alone_;
  std::span<const std::byte> held_;
  std::atomic<std::uint64_t> records_end_ = 0;
  FirstWal* first_wal_ = nullptr;
  bool version_is_known_ = false;
  struct Dispute {
    Error error;  ///< if no more WAL arrives
    wal::Lsn at;
  };
  std::optional<Dispute> dispute_;
};

}  // namespace weir::receive
