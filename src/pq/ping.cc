#include "pq/ping.h"

#include <libpq-fe.h>

namespace weir::pq {

namespace {

constexpr const char* kPingSeconds = "5";

PGPing ping(const ConninfoValues& values) {
  const ConninfoArrays given(values);
  return PQpingParams(given.keywords.data(), given.values.data(), 0);
}

}  // namespace

bool answers(const std::string& conninfo, std::size_t host) {
  auto all = expand_conninfo(conninfo);
  const auto one = hosts_of(all).at(host);
  all["host"] = one.host;
  all["hostaddr"] = one.hostaddr;
  all["port"] = one.port;
  all["connect_timeout"] = kPingSeconds;
  const auto answer = ping(all);
  return answer == PQPING_OK || answer == PQPING_REJECT;
}

ShutdownProbe::ShutdownProbe(const Connection& connection)
    : values_(values_of(connection.handle())) {
  values_["connect_timeout"] = kPingSeconds;
}

bool ShutdownProbe::server_shuts_down() const { return ping(values_) == PQPING_REJECT; }

}  // namespace weir::pq
