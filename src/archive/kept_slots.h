#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "archive/home.h"
#include "io/directory.h"
#include "wal/lsn.h"

namespace weir::archive {

/// A physical replication slot that the relay keeps for a client: WAL from `restart_lsn` on is
/// retained. Value type.
struct KeptSlot {
  std::string name{};
  wal::Lsn restart_lsn{};  ///< 0/0: it reserves no WAL (yet)
  /// Dead rows from this transaction on must be kept upstream for the client; the epoch is in the
  /// upper half. 0: none.
  std::uint64_t xmin = 0;
  std::uint64_t catalog_xmin = 0;
  bool lost = false;             ///< it exceeded the limit: its WAL may be gone, it retains nothing
  std::string created{};         ///< a time as text
  std::string inactive_since{};  ///< likewise; empty: in use, or it never was
  bool operator==(const KeptSlot&) const = default;
};

/// The slots of one archive, in the file ".pgweir-slots" next to its WAL. There is one writer,
/// which holds the SlotsLock. Readers may find older positions than the writer's, never newer ones:
/// the WAL that a slot retains is in the file before anything relies on it, a release is written
/// later.
struct KeptSlots {
  std::uint64_t system_identifier = 0;
  std::vector<KeptSlot> slots{};  ///< by name
  bool operator==(const KeptSlots&) const = default;
};

inline constexpr std::string_view kSlotsName = ".pgweir-slots";
inline constexpr std::string_view kSlotsLockName = ".pgweir-slots.lock";

/// Returns nullopt if the archive never had any slots. Throws Error{damage} for a file that cannot
/// be parsed: then it is unknown which WAL must be retained. Throws Error{io}.
[[nodiscard]] std::optional<KeptSlots> read_slots(io::Shelf& archive);

/// Durable when it returns. Throws Error{disk_full, io, durability}.
void keep_slots(Home& home, const KeptSlots& slots);

/// The right to write the slots, which one process at a time has. It ends with the object, and with
/// the process.
class SlotsLock {
 public:
  /// Returns nullptr if another process holds it. Throws Error{io} if it cannot be acquired at all,
  /// for example in a read-only directory.
  [[nodiscard]] static std::unique_ptr<SlotsLock> take(io::Directory& archive);

 private:
  explicit SlotsLock(std::unique_ptr<io::File> file) : file_(std::move(file)) {}
  std::unique_ptr<io::File> file_;
};

}  // namespace weir::archive
