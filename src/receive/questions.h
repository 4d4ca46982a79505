#pragma once

#include <cstddef>
#include <string>

#include "archive/border.h"
#include "net/wake.h"
#include "receive/machine.h"
#include "receive/server.h"
#include "receive/session_state.h"

namespace weir::receive {

/// Questions to a server that its WAL answers. Each is a stream without the slot and without a word
/// of what is flushed, so that it moves nothing; the connection takes commands again when it
/// returns, unless `spoilt`. Throws Error{retry} without an answer in time; what the stream throws;
/// net::Interrupted when `stop` is raised.
struct Questioner {
  Server& server;
  Machine& machine;
  const net::Wake& stop;
  /// The answer has come, and then the server did not end the stream in time: over a slow line it
  /// still sends what nobody wants. The connection is of no more use, and is to be closed.
  bool spoilt = false;

  /// Whether it still has the WAL at that place.
  [[nodiscard]] bool has_wal_at(wal::TimelineId timeline, wal::Lsn at);
  /// So much of its WAL from there on; what it does not have of that is left out.
  [[nodiscard]] std::string read(wal::TimelineId timeline, wal::Lsn at, std::size_t bytes);
  /// Its WAL beside the end of the archive.
  [[nodiscard]] TailComparison compare(const archive::Tail& tail) const;

 private:
  void end(WalStream& stream);
  void await(const WalStream& stream, Time deadline, const Error& no_answer) const;
};

}  // namespace weir::receive
