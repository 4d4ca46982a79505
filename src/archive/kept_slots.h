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

/// A physical replication slot that the relay keeps for a client: WAL from `restart_lsn` on stays.
/// A value.
struct KeptSlot {
  std::string name{};
  wal::Lsn restart_lsn{};  ///< 0/0: it reserves no WAL (yet)
  /// From this transaction on the client needs dead rows upstream; the epoch is in the upper half.
  /// 0: none.
  std::uint64_t xmin = 0;
  std::uint64_t catalog_xmin = 0;
  bool lost = false;             ///< it held back too much: its WAL may be gone, it holds nothing
  std::string created{};         ///< a time as text
  std::string inactive_since{};  ///< likewise; empty: in use, or it never was
  bool operator==(const KeptSlot&) const = default;
};

/// The slots of one archive, in the file ".pgweir-slots" beside its WAL. There is one writer, who
/// holds the SlotsLock; whoever else reads may find less than the writer knows by now, never more:
/// what a slot holds is in the file before anybody counts on it, what it lets go comes later.
struct KeptSlots {
  std::uint64_t system_identifier = 0;
  std::vector<KeptSlot> slots{};  ///< by name
  bool operator==(const KeptSlots&) const = default;
};

inline constexpr std::string_view kSlotsName = ".pgweir-slots";
inline constexpr std::string_view kSlotsLockName = ".pgweir-slots.lock";

/// nullopt: the archive never had any. Throws Error{damage} for a file that cannot be read as
/// slots: then nobody knows what has to stay. Throws Error{io}.
[[nodiscard]] std::optional<KeptSlots> read_slots(io::Shelf& archive);

/// Durable when it returns. Throws Error{disk_full, io, durability}.
void keep_slots(Home& home, const KeptSlots& slots);

/// The right to write the slots, which one process at a time has. It ends with the object, and with
/// the process.
class SlotsLock {
 public:
  /// nullptr: somebody else has it. Throws Error{io} where it cannot be had at all, as in a
  /// directory that is read-only.
  [[nodiscard]] static std::unique_ptr<SlotsLock> take(io::Directory& archive);

 private:
  explicit SlotsLock(std::unique_ptr<io::File> file) : file_(std::move(file)) {}
  std::unique_ptr<io::File> file_;
};

}  // namespace weir::archive
