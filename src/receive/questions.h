#pragma once

#include <cstddef>
#include <string>

#include "archive/border.h"
#include "net/wake.h"
#include "receive/machine.h"
#include "receive/server.h"
#include "receive/session_state.h"

namespace weir::receive {

/// Queries that a server's WAL answers. Each is a stream without the slot that does not report a
/// flush position, so it advances nothing; on return the connection accepts commands again, unless
/// `spoilt`. Throws Error{retry} without an answer in time; what the stream throws;
/// net::Interrupted when `stop` is raised.
struct Questioner {
  Server& server;
  Machine& machine;
  const net::Wake& stop;
  /// The answer has arrived, but then the server did not end the stream in time: over a slow line
  /// it still sends data that is not needed. The connection is not usable any more, and must be
  /// closed.
  bool spoilt = false;

  /// Whether it still has the WAL at that position.
  [[nodiscard]] bool has_wal_at(wal::TimelineId timeline, wal::Lsn at);
  /// Reads its WAL from there on, at most `bytes`; less if it does not have more.
  [[nodiscard]] std::string read(wal::TimelineId timeline, wal::Lsn at, std::size_t bytes);
  /// Compares its WAL with the end of the archive.
  [[nodiscard]] TailComparison compare(const archive::Tail& tail) const;

 private:
  void end(WalStream& stream);
  void await(const WalStream& stream, Time deadline, const Error& no_answer) const;
};

}  // namespace weir::receive
