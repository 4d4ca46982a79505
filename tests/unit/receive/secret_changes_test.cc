#include "receive/secret_changes.h"

#include <gtest/gtest.h>

namespace weir::receive::secret_changes_test {
namespace {

using Change = SecretChanges::Change;

pq::SecretsLook with(const char* content, const char* problem = "") {
  return {.content = content, .problem = problem};
}

TEST(SecretChanges, TellsWhatIsNewOnce) {
  SecretChanges changes(with("1"));
  EXPECT_EQ(changes.on_look(with("1")), Change::none);
  EXPECT_EQ(changes.on_look(with("2")), Change::replaced);
  EXPECT_EQ(changes.on_look(with("2")), Change::none);
  EXPECT_EQ(changes.on_look(with("1")), Change::replaced);
}

TEST(SecretChanges, WaitsForTheSecondOfAPair) {
  SecretChanges changes(with("1 1"));
  EXPECT_EQ(changes.on_look(with("2 1", "does not match the certificate")), Change::broken);
  EXPECT_EQ(changes.problem(), "does not match the certificate");
  EXPECT_EQ(changes.on_look(with("2 1", "does not match the certificate")), Change::none);
  EXPECT_EQ(changes.on_look(with("2 2")), Change::replaced);
  EXPECT_EQ(changes.problem(), "");
  // What comes back as it was is nothing new.
  EXPECT_EQ(changes.on_look(with("2", "half written")), Change::broken);
  EXPECT_EQ(changes.on_look(with("2", "cut off")), Change::broken) << "another word";
  EXPECT_EQ(changes.on_look(with("2 2")), Change::mended);
}

TEST(SecretChanges, MissesWhatWasThere) {
  auto gone = with("-");
  gone.gone = {"the client's key /k"};
  SecretChanges changes(with("1"));
  EXPECT_EQ(changes.on_look(gone), Change::broken);
  EXPECT_EQ(changes.problem(), "the client's key /k is gone");
  EXPECT_EQ(changes.on_look(with("1")), Change::mended);
  SecretChanges never(gone);
  EXPECT_EQ(never.on_look(gone), Change::none) << "sslcert=/none says that there is none";
  EXPECT_EQ(never.on_look(with("1")), Change::replaced);
}

}  // namespace
}  // namespace weir::receive::secret_changes_test
