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

/// The way of a piece of WAL from the connection to the kernel: checked first, then written. Not
/// one byte that failed the check is written, so none is acknowledged (P7). Belongs to the thread
/// that reads at the moment. Owns neither the verifier nor the writer.
///
/// WAL that comes again and differs from what the archive holds is either damaged or another
/// server's. The checksum of the record tells, and it may come with a later piece: until then the
/// difference is disputed, and what comes is checked and not written.
///
/// The same holds where WAL begins that the archive does not have: if the first record does not
/// name the last one of the archive as the one before it, it is damaged, or it was written so.
class Intake {
 public:
  /// The verifier stands at the begin of the stream, and knows what is before as
  /// archive::verifier_at() gives it.
  Intake(wal::RecordVerifier& verifier, archive::SegmentWriter& writer);

  /// Checks `wal` and holds it until write() has written it; its bytes must stay valid that long.
  /// Throws Error{damage}; then nothing of it is held. While something is disputed nothing is held
  /// in any case; throws Error{conflict} when it is decided that it is another server's.
  void accept(std::span<const std::byte> wal);

  /// Writes what is held, at most `most` bytes of it. Throws as SegmentWriter::write does; may be
  /// called again, and goes on where it stopped. A difference that is disputed is not thrown.
  void write(std::size_t most = std::numeric_limits<std::size_t>::max());

  [[nodiscard]] bool holds_something() const { return !held_.empty(); }

  /// What comes is not what the archive holds, and whether it is sound is not known yet.
  [[nodiscard]] bool disputes() const { return dispute_.has_value(); }
  /// Nothing more comes that could tell. Throws what was disputed, if something was.
  void settle();

  /// What comes is of a newer version than this program knows.
  [[nodiscard]] bool unchecked() const { return verifier_.unchecked(); }
  /// Where the last record ends that came whole, and is not disputed; 0/0 before the first one. Any
  /// thread.
  [[nodiscard]] wal::Lsn records_end() const { return wal::Lsn(records_end_); }

  /// The archive has sound WAL of a known version in the unfinished segment. A first page whose
  /// magic is newer is damaged then.
  void expect_known_version() { version_is_known_ = true; }

  /// What was accepted is shown to it from now on; it outlives this.
  void show_to(FirstWal& first_wal) { first_wal_ = &first_wal; }

  /// Of what is held nothing behind `end` is to be written. `begin` is where that begins.
  void keep_up_to(wal::Lsn begin, wal::Lsn end) { held_ = held_.first(end - begin); }

  /// Forgets what is held, or disputed.
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
  const wal::Lsn last_;   ///< the archive's last record before it; 0/0 if that is not known
  /// The stream read as if there were nothing before it, until its first record has proved to
  /// continue the archive.
  std::optional<wal::RecordVerifier> alone_;
  std::span<const std::byte> held_;
  std::atomic<std::uint64_t> records_end_ = 0;
  FirstWal* first_wal_ = nullptr;
  bool version_is_known_ = false;
  struct Dispute {
    Error error;  ///< if nothing more comes
    wal::Lsn at;
  };
  std::optional<Dispute> dispute_;
};

}  // namespace weir::receive
