#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "wal/lsn.h"
#include "wal/record_verifier.h"

namespace weir::archive {

/// Microseconds since 2000-01-01 00:00 UTC: PostgreSQL's TimestampTz, as commit records hold it.
struct PgTime {
  std::int64_t microseconds = 0;

  /// "2026-11-20 03:14", with seconds and fractions if wanted, a 'T' between, and a zone behind:
  /// "Z", "UTC", "+02", "+02:00", "+0200". Without one it is the local time of this process (TZ).
  /// nullopt for anything else.
  [[nodiscard]] static std::optional<PgTime> parse(std::string_view text);
  /// "2026-11-20 03:14:15.926535 UTC", which recovery_target_time understands, too.
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const PgTime&) const = default;
};

struct Commit {
  wal::Lsn start;  ///< of the commit record: the recovery_target_lsn that includes it
  wal::Lsn end;
  std::uint32_t transaction = 0;  ///< xid; 0: not known
  PgTime time;
  bool operator==(const Commit&) const = default;
};

/// A transaction's end, as recovery_target_time looks at it.
struct TransactionEnd {
  Commit commit;
  bool aborted = false;
};

/// Finds the ends of transactions in the WAL that passes a verifier: decodes what RM_XACT_ID writes
/// (access/xact.h).
class TransactionObserver final : public wal::RecordObserver {
 public:
  /// True to go on.
  using Visit = std::function<bool(const TransactionEnd&)>;

  explicit TransactionObserver(Visit visit) : visit_(std::move(visit)) {}

  bool wants(const wal::RecordHeader& header) override;
  void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override;
  /// `visit` has said that it has enough.
  [[nodiscard]] bool done() const { return done_; }

 private:
  Visit visit_;
  bool done_ = false;
};

}  // namespace weir::archive
