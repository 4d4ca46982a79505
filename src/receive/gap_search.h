#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "wal/lsn.h"
#include "wal/page.h"
#include "wal/segment.h"

namespace weir::receive {

/// The search for the oldest WAL of a server that lacks a segment: a binary search between that
/// segment and the server's end, by requesting segments. The server removes its oldest segments
/// only, so its WAL is one range. Pure.
///
/// It continues over a new connection, on which a different server may answer under the same name:
/// that one is first asked for the segment itself.
class GapSearch {
 public:
  /// A long page header, followed by a record header.
  static constexpr std::size_t kFront = wal::kLongHeaderSize + wal::kRecordHeaderSize;

  /// Streaming should have continued at `missing`, which is a segment's first byte, on `timeline`.
  GapSearch(wal::Lsn missing, wal::TimelineId timeline, int host, wal::SegmentSize size)
      : missing_(missing), timeline_(timeline), host_(host), size_(size) {}

  struct Probe {
    wal::Lsn lsn;  ///< does the server have the segment that starts here? → on_probed()
  };
  struct ReadFront {
    wal::Lsn lsn;  ///< read kFront bytes from here on → on_front()
  };
  /// The server's newest segment is missing, or it has not reached the missing one.
  struct NothingFollows {};
  struct Found {
    wal::Lsn held;                ///< first byte of the oldest segment that the server has
    std::uint64_t last_lost = 0;  ///< number of the segment before it
    bool reset = false;           ///< nothing before it was ever written (pg_resetwal)
  };
  using Next = std::variant<Probe, ReadFront, NothingFollows, Found>;
  /// `server_end`: the end of the server's WAL. `front`: whether a reset matters.
  [[nodiscard]] Next next(wal::Lsn server_end, bool front);

  enum class Answer { noted, has_it };  ///< has_it: this server has the missing segment
  [[nodiscard]] Answer on_probed(bool available);
  void on_front(std::string_view wal);
  void on_disconnected();

  [[nodiscard]] wal::Lsn missing() const { return missing_; }
  [[nodiscard]] wal::TimelineId timeline() const { return timeline_; }
  [[nodiscard]] int host() const { return host_; }  ///< index of the host that lacks it

 private:
  wal::Lsn missing_;
  wal::TimelineId timeline_;
  int host_;
  wal::SegmentSize size_;
  bool gone_here_ = true;   ///< reported by the server of this connection
  bool begun_ = false;      ///< the two below are set
  std::uint64_t lost_ = 0;  ///< newest segment known to be gone
  std::uint64_t held_ = 0;  ///< oldest segment known to exist
  /// Its first record has no prev-link. Unset: not checked.
  std::optional<bool> reset_;
};

}  // namespace weir::receive
