"""What does Hearth answer to each operation of CloudWatch Logs? See compatibility.py."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hearth.api.support import Support, unsupported, works, works_but

_NOT_OF_FUNCTIONS: Final = """
    AssociateKmsKey AssociateSourceToS3TableIntegration CancelExportTask CancelImportTask
    CreateDelivery CreateExportTask CreateImportTask CreateLogAnomalyDetector
    CreateLookupTable CreateScheduledQuery DeleteAccountPolicy DeleteDataProtectionPolicy
    DeleteDelivery DeleteDeliveryDestination DeleteDeliveryDestinationPolicy
    DeleteDeliverySource DeleteDestination DeleteIndexPolicy DeleteIntegration
    DeleteLogAnomalyDetector DeleteLookupTable DeleteMetricFilter DeleteQueryDefinition
    DeleteResourcePolicy DeleteScheduledQuery DeleteSubscriptionFilter
    DeleteSyslogConfiguration DeleteTransformer DescribeAccountPolicies
    DescribeConfigurationTemplates DescribeDeliveries DescribeDeliveryDestinations
    DescribeDeliverySources DescribeDestinations DescribeExportTasks DescribeFieldIndexes
    DescribeImportTaskBatches DescribeImportTasks DescribeIndexPolicies DescribeLookupTables
    DescribeMetricFilters DescribeQueries DescribeQueryDefinitions DescribeResourcePolicies
    DescribeSubscriptionFilters DisassociateKmsKey DisassociateSourceFromS3TableIntegration
    GetDataProtectionPolicy GetDelivery GetDeliveryDestination GetDeliveryDestinationPolicy
    GetDeliverySource GetIntegration GetLogAnomalyDetector GetLogFields GetLogGroupFields
    GetLogObject GetLogRecord GetLookupTable GetQueryResults GetScheduledQuery
    GetScheduledQueryHistory GetStorageTierPolicy GetTransformer
    ListAggregateLogGroupSummaries ListAnomalies ListIntegrations ListLogAnomalyDetectors
    ListLogGroups ListLogGroupsForQuery ListScheduledQueries
    ListSourcesForS3TableIntegration ListSyslogConfigurations PutAccountPolicy
    PutBearerTokenAuthentication PutDataProtectionPolicy PutDeliveryDestination
    PutDeliveryDestinationPolicy PutDeliverySource PutDestination PutDestinationPolicy
    PutIndexPolicy PutIntegration PutLogGroupDeletionProtection PutMetricFilter
    PutQueryDefinition PutResourcePolicy PutStorageTierPolicy PutSubscriptionFilter
    PutSyslogConfiguration PutTransformer StartQuery StopQuery
    TestMetricFilter TestTransformer UpdateAnomaly UpdateDeliveryConfiguration
    UpdateLogAnomalyDetector UpdateLookupTable UpdateScheduledQuery
"""

LOGS: Final[Mapping[str, Support]] = MappingProxyType(
    {
        **works_but("KMS keys and classes other than STANDARD are refused", "CreateLogGroup"),
        **works(
            "CreateLogStream",
            "DeleteLogGroup",
            "DeleteLogStream",
            "DeleteRetentionPolicy",
            "DescribeLogGroups",
            "DescribeLogStreams",
            "FilterLogEvents",
            "GetLogEvents",
            "ListTagsForResource",
            "ListTagsLogGroup",
            "PutLogEvents",
            "PutRetentionPolicy",
            "StartLiveTail",
            "TagLogGroup",
            "TagResource",
            "UntagLogGroup",
            "UntagResource",
        ),
        **unsupported("not used on the logs of functions", *_NOT_OF_FUNCTIONS.split()),
    }
)
"""Every operation of botocore's `logs` model."""
