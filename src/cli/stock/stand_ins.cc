#include "cli/stock/stand_ins.h"

#include "cli/stock/pg_receivewal_options.h"
#include "cli/stock/pg_recvlogical_options.h"

namespace weir::cli {

namespace {

constexpr StandIn kStandIns[] = {
    {kPgReceivewal, pg_receivewal, pg_receivewal_help},
    {kPgRecvlogical, pg_recvlogical, pg_recvlogical_help},
    {kPgArchivecleanup, pg_archivecleanup, pg_archivecleanup_help},
};

}  // namespace

std::span<const StandIn> stand_ins() { return kStandIns; }

const StandIn* find_stand_in(std::string_view called) {
  const auto name = called.substr(called.rfind('/') + 1);
  for (const auto& each : kStandIns)
    if (each.name == name) return &each;
  return nullptr;
}

}  // namespace weir::cli
